"""What people and programs hold in their hands: facade, command line, report, HTTP client."""
