"""What all benchmarks share: options, commands, processes, the load client, statistics, reports and plots."""
