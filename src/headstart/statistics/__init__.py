"""What a number is worth: scores, intervals, paired tests, calibration."""
