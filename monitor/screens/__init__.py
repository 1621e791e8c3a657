"""What fills the terminal: the main screen, the pages below it, the help."""
