module example-secret-source

go 1.26.0
