"""Plans in other forms: source code and files of other tools."""
