"""How detection data is laid out, a file for each format; `maxvit.tasks.detection.data` chooses one."""
