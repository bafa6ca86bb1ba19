module example-callback

go 1.26.0
