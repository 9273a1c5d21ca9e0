"""What `tools/plan` needs: a stage's programs compiled for chips that are not there, and read."""
