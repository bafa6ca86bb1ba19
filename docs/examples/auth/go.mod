module example-auth

go 1.26.0
