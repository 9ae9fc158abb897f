"""What a network looks at, and whether that is what it answers by."""
