-- SPDX-License-Identifier: MIT
-- The word of a list that somebody may have meant. Pure.

local function distance(a, b)
    local row = {}
    for j = 0, #b do row[j] = j end
    for i = 1, #a do
        local diagonal, ca = row[0], a:byte(i)
        row[0] = i
        for j = 1, #b do
            local above = row[j]
            local best = diagonal + (ca == b:byte(j) and 0 or 1)
            if above + 1 < best then best = above + 1 end
            if row[j - 1] + 1 < best then best = row[j - 1] + 1 end
            row[j], diagonal = best, above
        end
    end
    return row[#b]
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
