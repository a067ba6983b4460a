"""``python -m memplan.clients.cli`` is ``plan``."""

from memplan.clients.cli.main import console

if __name__ == "__main__":
    console()
