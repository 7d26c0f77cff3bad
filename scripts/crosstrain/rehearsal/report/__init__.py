"""What a rehearsal shows of itself: records, the live view, the summary, rehearsal.json and the timeline."""
