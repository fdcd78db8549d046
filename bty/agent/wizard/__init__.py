"""The full-screen flasher: a pure state machine, pictures of it, and the terminals that show them."""
