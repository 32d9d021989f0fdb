-- Every request a login in the native dialect, of the users user0 to user15 in turn.
local requests, at = {}, 0

function init(args)
  for user = 0, 15 do
    local body = '{"username":"user' .. user .. '","password":"' .. args[1] .. '"}'
    requests[#requests + 1] = wrk.format("POST", "/auth/login", { ["Content-Type"] = "application/json" }, body)
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end
