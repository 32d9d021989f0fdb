-- One step of a session with each request, by the lines of the file that is named after `--`. Each
-- thread has one connection and its own share of the lines, so an answer belongs to the last request.
--   login FILE THREADS     `user password` a line
--   refresh FILE THREADS   a refresh token a line; the next round presents its successor
--   logout FILE THREADS    an access token a line, each once
local step, lines, at = nil, {}, 0
local threads = {}
local json = { ["Content-Type"] = "application/json" }

function setup(thread)
  thread:set("number", #threads)
  threads[#threads + 1] = thread
end

function init(args)
  step = args[1]
  local count, place = tonumber(args[3]), 0
  for line in io.lines(args[2]) do
    if place % count == number then lines[#lines + 1] = line end
    place = place + 1
  end
end

function request()
  at = at % #lines + 1
  local line = lines[at]
  if step == "login" then
    local name, password = line:match("(%S+) (%S+)")
    return wrk.format("POST", "/auth/login", json, '{"username":"' .. name .. '","password":"' .. password .. '"}')
  elseif step == "refresh" then
    return wrk.format("POST", "/auth/refresh", json, '{"refresh_token":"' .. line .. '"}')
  end
  return wrk.format("POST", "/auth/logout", { ["Authorization"] = "Bearer " .. line })
end

function response(status, headers, body)
  if step == "refresh" then
    lines[at] = body:match('"refresh_token":"([^"]+)"') or lines[at]
  end
end
