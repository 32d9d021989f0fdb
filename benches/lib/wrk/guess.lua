-- Guesses at passwords, under a new name each time.
local number = 0

function request()
  number = number + 1
  return wrk.format("POST", nil, { ["Content-Type"] = "application/json" },
    '{"username":"ghost' .. number .. '","password":"a guess"}')
end
