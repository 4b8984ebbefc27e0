"""What a measured figure is: intervals, statistics, storage."""
