"""A trained model as files of other runtimes, each checked on photos before it is handed out."""
