"""`uploader bench`: which concurrency and part size fill this link, found out by uploading random bytes.

`grid` decides what to upload, `results` what it comes to, `table` and `figure` show it. `measuring` does it,
`screen` shows it meanwhile, `telling` and `ending` say what came of it. `command` is the whole.
"""
