"""What MODEL_DIR keeps of each project: versions, the champion, requests, states."""
