"""Does what the core decides: the file, the control calls, the parts, and the engine that runs a session."""
