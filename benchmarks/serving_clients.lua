-- Clients that send real photos, for wrk, which takes next to nothing of the processor; `benchmarks/serving.py`
-- runs them. The photos are named behind `--`.

local form = {["Content-Type"] = "multipart/form-data; boundary=----photo"}
local head = '------photo\r\nContent-Disposition: form-data; name="file"; filename="photo.jpg"\r\n\r\n'
local tail = "\r\n------photo--\r\n"
local requests, sent = {}, 0

function init(paths)
  for _, path in ipairs(paths) do
    local file = assert(io.open(path, "rb"))
    requests[#requests + 1] = wrk.format("POST", "/v1/predict", form, head .. file:read("*a") .. tail)
    file:close()
  end
end

function request()
  sent = sent + 1
  return requests[sent % #requests + 1]
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format(
    '\n{"count": %d, "failed": %d, "per_second": %f, "p50_ms": %f, "p95_ms": %f, "p99_ms": %f}\n',
    summary.requests, failed, summary.requests / (summary.duration / 1e6),
    latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3
  ))
end
