"""What Bakeoff decides and remembers: files, matrix, order, truth, evidence."""
