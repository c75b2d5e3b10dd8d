#include "check.h"
#include "scene.h"

int main(void)
{
    scene_t scene;
    shape2_t small, large;

    scene_init(&scene);
    CHECK(scene_largest(&scene) == NULL);
    CHECK(shape2_rect(&small, 1, 1) == 0 && shape2_rect(&large, 4, 5) == 0);
    CHECK(scene_add(&scene, &small) == 0 && scene_add(&scene, &large) == 0);
    CHECK(NEAR(scene_area(&scene), 21));
    CHECK(NEAR(shape2_area(scene_largest(&scene)), 20));
    while (scene.count < SCENE_MAX)
        CHECK(scene_add(&scene, &small) == 0);
    CHECK(scene_add(&scene, &small) == -1);
    puts("test_scene: ok");
    return 0;
}
