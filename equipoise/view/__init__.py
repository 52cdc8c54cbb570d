"""Looking closer at a run in a browser, and asking people what they see."""
