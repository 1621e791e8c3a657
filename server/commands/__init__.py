"""Commands of the command line that have more than a few lines to them; each loads what it needs when it runs."""
