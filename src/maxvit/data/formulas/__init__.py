"""Images drawn from formulas: a class is a formula, an image one drawing of it."""
