"""The best trial of the sweep, and the leaderboard."""
