"""What things are and what follows from them: frozen data and pure decisions. Nothing here awaits or does I/O."""
