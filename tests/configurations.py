"""Configurations that users have written, and which stay as they are."""

DOCUMENT = """\
listen: ":8080"        # TCP address, or "unix:/path/to/sock" for Unix socket
db: overseer.db        # SQLite path for exit-history (optional)
trusted_cidrs: ""      # Comma-separated IPs/CIDRs; empty = auto-detect local subnets
log_file: ""           # Optional JSONL event log

# Global pool defaults (overridable per-action)
task_pool:
  size: 10             # max concurrent tasks (0 = unlimited)
  queue_size: 100      # max queued tasks
  queue_timeout: "0s"  # 0 = queue indefinitely

retry: {}              # global retry policy; overridable per-action

actions:
  echo:
    type: exec
    config:
      entrypoint: echo
      command: ["[[.message]]"]
      parameters:
        message:
          default: "hello"
"""
"""The one in the description of the project, word for word."""

RECORDER = """\
name: "sticky-recorder"
listen: ":8080"
db: /data/overseer.db
task_pool:
  limit: 8
  queue: {enabled: true, size: 100}
actions:
  recorder:
    type: exec
    dedupe_key: ["source"]
    retry: {restart_delay: "30s", error_threshold: 0, error_window: "0s"}
    config:
      entrypoint: recorder
      command: ["-s", "[[.source]]", "-r", "[[.resolution]]", "-o", "/data/{{.Site}}/{{.Source}}", "--output-format", "json"]
      parameters:
        source: {}
        resolution: {default: "1080", validate: 'value in ["480", "720", "1080"]'}
      output:
        stdout: {condition: "has(output.json.event)"}
        stderr: {condition: "false"}
"""  # noqa: E501
"""The one of a recorder of streams, written for sticky-overseer v2."""
