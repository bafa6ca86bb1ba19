module example-hook

go 1.26.0
