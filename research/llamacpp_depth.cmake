# Adds llamacpp_depth to a build of llama.cpp: cmake -S LLAMA.CPP -B BUILD -DCMAKE_PROJECT_llama.cpp_INCLUDE=THIS
add_executable(llamacpp_depth ${CMAKE_CURRENT_LIST_DIR}/llamacpp_depth.c)
target_link_libraries(llamacpp_depth PRIVATE llama)
set_target_properties(llamacpp_depth PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
