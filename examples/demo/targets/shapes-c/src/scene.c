#include "scene.h"

void scene_init(scene_t *scene)
{
    scene->count = 0;
}

int scene_add(scene_t *scene, const shape2_t *shape)
{
    if (scene->count == SCENE_MAX)
        return -1;
    scene->shapes[scene->count++] = *shape;
    return 0;
}

double scene_area(const scene_t *scene)
{
    double total = 0;
    for (size_t i = 0; i < scene->count; i++)
        total += shape2_area(&scene->shapes[i]);
    return total;
}

const shape2_t *scene_largest(const scene_t *scene)
{
    const shape2_t *largest = NULL;
    for (size_t i = 0; i < scene->count; i++)
        if (!largest || shape2_area(&scene->shapes[i]) > shape2_area(largest))
            largest = &scene->shapes[i];
    return largest;
}
