"""What can happen to a job: events, commands, the decider and the codec. Pure: no clock, no ids, no I/O."""
