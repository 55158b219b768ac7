"""How people see a run: leaderboard, model card, report, trackers."""
