"""Every kind of kernel map, as tests of backends ask KernelMaps for one."""

MAPS = {
    "submanifold": lambda maps: maps.submanifold(1, 3),
    "point": lambda maps: maps.submanifold(1, 1),
    "strided": lambda maps: maps.strided(1, 2, 2),
    "strided 3": lambda maps: maps.strided(1, 2, 3),
    "transposed": lambda maps: maps.strided(1, 2, 2).transposed,
}
