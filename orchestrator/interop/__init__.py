"""Other programs' files: what people bring along is read here, and given back in the form that they know."""
