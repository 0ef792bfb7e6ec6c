"""Measurements under load, against peers and limits: ``python -m benchmarks``.

```
processing        windows normalised per second: ours, other frameworks, the raw client
inference_speed   predictions per second: ours, one predict per record, the bare model
end_to_end        edge to prediction at several rates, and the rate that is sustained
replay_speed      archive to predictions in Parquet: ours, the live pipeline, the bare model
replay_beside     latency of live windows without and with a replay
growth            more assets, longer and wider windows, more processes
memory            resident memory of every process over ten minutes
swap_latency      edge to prediction around swaps of the model

append_times      the clock of throughput figures: the broker's own
namespaces        topics and groups of a run
stream_run        one run of a contender over a filled topic
windows           what is sent
network, release  what predicts
plant, service    a running system, a running process
turns, result     repeats in turn; medians with their spread, as JSON
```
"""
