"""The HTTP service: questions in, stored answers out.  ``app.create_app`` builds it."""
