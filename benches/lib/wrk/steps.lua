-- One step of a session with each request, by the lines of the file that is named after `--`. Each
-- thread has one connection and its own share of the lines, each line once; a thread that has none
-- left stops before the time is over.
--   login FILE THREADS OUT   `user password` a line; `access refresh` of each answer goes to OUT.NUMBER
--   refresh FILE THREADS     a refresh token a line
--   logout FILE THREADS      an access token a line
-- The environment's STEP_PORTS are the ports of the gateways, which the threads share out.
local ffi = require("ffi")
ffi.cdef("typedef struct { long sec, usec; } step_time; int gettimeofday(step_time *, void *);")

local step, lines, at, out = nil, {}, 0, nil
local threads, time = {}, ffi.new("step_time")

-- Read by `done`.
began, ended, count = 0, 0, 0

local is_tried = false

local function now()
  ffi.C.gettimeofday(time, nil)
  return tonumber(time.sec) + tonumber(time.usec) / 1e6
end

-- Users log in from addresses of their own: those of one address would wait for its count.
local function login_headers(name)
  local user = tonumber(name:match("%d+"))
  local address = string.format("10.%d.%d.%d", math.floor(user / 65536) % 256, math.floor(user / 256) % 256, user % 256)
  return { ["Content-Type"] = "application/json", ["X-Forwarded-For"] = address }
end

function setup(thread)
  local ports = {}
  for port in os.getenv("STEP_PORTS"):gmatch("%d+") do ports[#ports + 1] = port end
  thread.addr = wrk.lookup("127.0.0.1", ports[#threads % #ports + 1])[1]
  thread:set("number", #threads)
  threads[#threads + 1] = thread
end

function init(args)
  step = args[1]
  local threads, place = tonumber(args[3]), 0
  for line in io.lines(args[2]) do
    if place % threads == number then lines[#lines + 1] = line end
    place = place + 1
  end
  if step == "login" then out = io.open(args[4] .. "." .. number, "w") end
end

function request()
  -- The first thread is asked for a request once beforehand, which is not sent.
  if number == 0 and not is_tried then
    is_tried = true
  else
    if at == 0 then began = now() end
    at = at + 1
  end
  local line = lines[math.max(at, 1)]
  if step == "login" then
    local name, password = line:match("(%S+) (%S+)")
    return wrk.format("POST", "/auth/login", login_headers(name), '{"username":"' .. name .. '","password":"' .. password .. '"}')
  elseif step == "refresh" then
    return wrk.format("POST", "/auth/refresh", { ["Content-Type"] = "application/json" }, '{"refresh_token":"' .. line .. '"}')
  end
  return wrk.format("POST", "/auth/logout", { ["Authorization"] = "Bearer " .. line })
end

function response(status, headers, body)
  ended, count = now(), count + 1
  if step == "login" and status == 200 then
    out:write(body:match('"access_token":"([^"]+)"'), " ", body:match('"refresh_token":"([^"]+)"'), "\n")
  end
  if at == #lines then wrk.thread:stop() end
end

function done()
  local first, last, total = math.huge, 0, 0
  for _, thread in ipairs(threads) do
    first, last = math.min(first, thread:get("began")), math.max(last, thread:get("ended"))
    total = total + thread:get("count")
  end
  io.write(string.format("steps: %d in %.6f s\n", total, last - first))
end
