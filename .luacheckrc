std = "lua54"
max_line_length = 120
max_comment_line_length = false -- the signature line of a doc block stays in one piece
read_globals = { "macvm" }
exclude_files = { "build/**", "stdlib/meta/**" }
files["stdlib/macvm/cli/script.lua"] = { globals = { "_G" } }
files["stdlib/macvm/cli/life.lua"] = { globals = { "_G", "os" } }
