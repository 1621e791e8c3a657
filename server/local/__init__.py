"""What a developer's machine needs beside the server: real servers from wheels, processes, a state folder."""
