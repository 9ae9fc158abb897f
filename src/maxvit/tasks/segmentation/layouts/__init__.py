"""How segmentation data is laid out, a file for each layout; `maxvit.tasks.segmentation.data` chooses one."""
