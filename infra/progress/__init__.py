"""Progress of consumers, and the fates of the records that they read.

```
committed        committed offsets of a group, queried by a non-member
group_offsets    committed offsets, log ends and lag of a group
empty_ranges     offset ranges without a readable record (transaction markers)
output_progress  progress recovered from the last outputs
balance          read = predicted + refused + repeated + waiting, per partition
losses           records that expired before they were read: counted and logged
```
"""
