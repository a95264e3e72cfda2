"""MiniCLEVR: small pictures of solids with questions, captions and reviews in published layouts."""
