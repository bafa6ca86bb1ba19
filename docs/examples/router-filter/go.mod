module example-router-filter

go 1.26.0
