"""What a process does to itself, how it makes others, and the files by which it is found."""
