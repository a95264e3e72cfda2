"""MiniMUSIC: procedurally made audio-visual scenes in MUSIC-AVQA's and VALOR's layout."""
