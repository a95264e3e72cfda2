"""Many users behind one air: their channels over time, and who gets the band."""
