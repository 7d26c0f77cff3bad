"""Source that ends only if two of joblib's tasks run at once: each waits for the other. It takes how many may."""

MEETING = """
import common, joblib, json, os, sys, threading
from model_training.threads import ThreadBackend
barrier = threading.Barrier(2, timeout=20)
with joblib.parallel_config(backend=ThreadBackend()):
    met = joblib.Parallel(n_jobs=int(sys.argv[1]))(joblib.delayed(barrier.wait)() for _ in range(2))
print(json.dumps({"met": sorted(met), "multiprocessing": bool(joblib.parallel.mp), "shm": os.path.exists("/dev/shm")}))
"""
