"""What every row shares: servers on one core, load on the other, figures with their spread."""
