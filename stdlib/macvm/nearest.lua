-- SPDX-License-Identifier: MIT
-- The word of a list that somebody may have meant. Pure.

-- Letters to insert, delete, replace, or swap with their neighbour.
local function distance(a, b)
    local d = {}
    for i = 0, #a do d[i] = { [0] = i } end
    for j = 0, #b do d[0][j] = j end
    for i = 1, #a do
        for j = 1, #b do
            local same = a:byte(i) == b:byte(j)
            local best = math.min(d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (same and 0 or 1))
            if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
                best = math.min(best, d[i - 2][j - 2] + 1)
            end
            d[i][j] = best
        end
    end
    return d[#a][#b]
end

-- nearest(word, words) -> string|nil: nil when none is near (at most a third of it differs).
return function(word, words)
    if type(word) ~= "string" or #word > 64 then return nil end
    local found, least = nil, math.max(1, #word // 3) + 1
    for _, candidate in ipairs(words) do
        local d = distance(word:lower(), candidate:lower())
        if d < least then found, least = candidate, d end
    end
    return found
end
